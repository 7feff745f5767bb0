"""Windows that slide over each channel by itself: depthwise convolution and pooling."""
