def fails():
    raise ValueError('late')
