"""What needs a real Jupyter kernel."""
