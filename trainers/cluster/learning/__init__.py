"""In the processes that train: samples as a recipe's minibatches, and its losses."""
