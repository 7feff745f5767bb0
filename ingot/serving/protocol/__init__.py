"""What HTTP and gRPC share of the Open Inference Protocol: its types and its descriptions."""
