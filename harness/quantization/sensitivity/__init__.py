"""What quantizing each layer costs, and which layers to leave out."""
