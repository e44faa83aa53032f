"""Archives: many files in, one store or folder out, in bounded memory, resumable."""
