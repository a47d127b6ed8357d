"""How far two datasets are apart in the features of one fixed network."""
