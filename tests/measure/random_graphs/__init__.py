"""Random models as data, the strategies that draw them, and what a profile of each must say.

A graph says which operations run, so its counts follow from it without a profiler: ``oracle``
computes every value by the same calls and notes the operands of each contraction. Nothing of the
package is used here.

- ``values``: tensors of a given kind (binary, graded, real, ...).
- ``graph``: the dataclasses of a graph, and the module made of one.
- ``contractions``: the contractions of one operation, by its definition.
- ``operations``: every operation that a graph may hold.
- ``oracle``: the contractions of a whole forward pass.
- ``draft``, ``draw_*``, ``cases``: the hypothesis strategies.
"""
