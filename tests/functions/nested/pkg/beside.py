VALUE = 'from beside'
