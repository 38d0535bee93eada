"""What is made and counted with the embedded checkpoints, once their weights are final."""
