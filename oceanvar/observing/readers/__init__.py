"""Files as agencies deliver them, read as observations with places, times and error variances."""
