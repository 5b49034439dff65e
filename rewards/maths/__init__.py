"""Grading of mathematical answers: find the final answer in a text, read it, compare it with the gold answer.

    extraction   the final answer in a model's text
    text         one spelling for every way of writing the same characters
    number       plain numbers, read exactly and fast
    nodes        what an answer is made of (the syntax tree)
    lexer, reader, atoms, units, grammar   LaTeX and plain text to nodes, under static limits
    polynomial, normal       exact normal form of scalar expressions
    evaluation, probing      bounded high-precision evaluation at several points
    scalars      are two scalars equal? normal form, then probing, then the symbolic tier
    shapes       are two answers equal? lists, sets, intervals, equations, matrices, units
    symbolic     the part of the last tier that runs in a killable worker
    verifier     all of it as a reward

Nothing here evaluates text: expressions are built from our own syntax tree, never by ``eval``, ``sympify`` or
``parse_expr``.
"""
