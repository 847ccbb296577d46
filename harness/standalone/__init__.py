"""From an image file to the network's input with numpy and Pillow alone, and the program of a shipped folder.

Evaluation reads images with these modules, and `harness ship` copies them as they are: what was measured is what goes
to production. So they import nothing of `harness`, and each other by relative names.
"""
