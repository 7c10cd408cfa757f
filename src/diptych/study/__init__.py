"""The human perceptual study of the papers, in a browser: which picture is fake?"""
