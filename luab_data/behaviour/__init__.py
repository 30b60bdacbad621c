"""What people did on an image, beside what they answered: is it hard, and is the answer good?

views.py has a row a view of any kind of dataset; difficulty.py asks a model's losses, consensus.py
other people's answers.
"""
