"""What every wing shares: the host, the page, the plot's axes, the log."""
