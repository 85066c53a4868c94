"""(room text to be written by its owner)"""
