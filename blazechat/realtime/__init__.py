"""Who is listening."""
