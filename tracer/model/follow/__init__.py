"""What `follow` tells of each connection: records in, steps out. followed.py is where batches come in."""
