broker = {"maxmemory": "40%"}
