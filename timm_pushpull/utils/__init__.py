"""What all rooms share: errors, files, devices, progress bars, compiled loops."""
