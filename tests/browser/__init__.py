"""What a reader sees and does in a real JupyterLab, in a real browser."""
