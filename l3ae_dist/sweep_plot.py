def sweep_page(result):
    return "x"
