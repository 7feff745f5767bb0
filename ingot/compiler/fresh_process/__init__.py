"""Running an artifact as a deployed machine does: in a process of its own, by the runtime alone."""
