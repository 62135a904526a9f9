"""``edged doctor``: facts are measured, findings follow from facts.

Each module asks one kind of question: a frozen dataclass of facts, a function that measures them on this device, and a
pure function that makes findings of them. ``examine`` puts them together.
"""
