def value():
    return 41 + 1
