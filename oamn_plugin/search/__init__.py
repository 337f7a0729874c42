"""Search by image: an encoder, a gallery index on disk, its graphs for other runtimes, results and their page."""
