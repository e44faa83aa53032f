"""What a state is, what is observed of it, and the windows cut from it."""
