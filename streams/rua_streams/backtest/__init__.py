"""What the rules would have said: a stored log through the very engine that runs live, and two versions side by side.

Pure but for `logs`, which reads files, and `spread`, which starts processes. Stores are read elsewhere and handed in.
"""
