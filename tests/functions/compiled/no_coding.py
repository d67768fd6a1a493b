TEXT = u"中"
