from edged.transport.credit import LARGEST_BYTES, SMALLEST_BYTES, Credit
from edged.transport.rates import Rate

MEBIBYTE = 1 << 20


def test_the_window_begins_small_and_one_message_may_always_go():
    credit = Credit()
    assert credit.window == SMALLEST_BYTES
    assert credit.allows(LARGEST_BYTES)
    credit.spend(SMALLEST_BYTES, 0.0)
    assert not credit.allows(1)


def test_the_window_holds_two_parcels_within_bounds():
    credit = Credit()
    credit.parcel(5 * MEBIBYTE)
    assert credit.window == 10 * MEBIBYTE
    credit.parcel(500 * MEBIBYTE)
    assert credit.window == LARGEST_BYTES
    for _ in range(1000):
        credit.parcel(1)
    assert credit.window == SMALLEST_BYTES


def test_the_window_grows_to_fill_a_fast_long_link():
    credit, now, due = Credit(), 0.0, []
    for _ in range(400):  # 100 MiB/s with a delay of 0.1 s wants 20 MiB
        while credit.allows(MEBIBYTE):
            credit.spend(MEBIBYTE, now)
            due.append((max(now + 0.1, due[-1][0] + 0.01 if due else 0.0), credit.sent))
        now, total = due.pop(0)
        assert credit.refund(total, now)
    assert 10 * MEBIBYTE < credit.window <= LARGEST_BYTES


def test_acknowledgements_of_what_was_never_sent_are_refused():
    credit = Credit()
    credit.spend(10, 0.0)
    assert not credit.refund(11, 1.0)
    assert credit.refund(10, 1.0)
    assert not credit.refund(9, 1.0)
    assert credit.outstanding == 0


def test_a_rate_settles_at_the_true_one_and_is_forgotten():
    rate = Rate()
    for step in range(1000):
        rate.add(1000, step / 100)
    assert 95_000 < rate.per_second(10.0) < 105_000
    assert rate.per_second(40.0) < 1
