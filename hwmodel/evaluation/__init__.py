"""Does a pruned network still do its task: data that need no download, decoding of outputs, scores."""
