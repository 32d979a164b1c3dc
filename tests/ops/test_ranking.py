import tensorflow as tf

from kdet.ops.ranking import smallest, smallest_in_passing


def test_equal_values_are_taken_by_index():
    assert smallest(tf.constant([[5.0, 9.0, 5.0, 1.0, 5.0]]), 3).numpy().tolist() == [[3, 0, 2]]


def test_ties_for_the_last_place_in_passing():
    def taken(*values):
        return sorted(smallest_in_passing(tf.constant([values], tf.float32), 4).numpy()[0].tolist())

    # the selection is full with a tie: an equal value that comes later stays out
    assert taken(1, 2, 3, 5, 5, 9, 5) == [0, 1, 2, 3]
    # two equal ones are in when a smaller one comes: the first of them goes
    assert taken(5, 9, 5, 1, 2, 3, 5) == [2, 3, 4, 5]
    assert smallest_in_passing(tf.constant([[4.0, 1.0, 3.0, 2.0]]), 3).numpy().tolist() == [[1, 3, 2]]
