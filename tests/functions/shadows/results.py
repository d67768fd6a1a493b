WHOSE = 'user'
