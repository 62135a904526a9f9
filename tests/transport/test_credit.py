from edged.transport.credit import BACKGROUND_BYTES, LARGEST_BYTES, SMALLEST_BYTES, Credit
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


def test_little_of_what_travels_behind_may_be_under_way_with_anything_else():
    credit = Credit()
    assert credit.allows(BACKGROUND_BYTES + 1, BACKGROUND_BYTES), "one may always go when nothing is under way"
    credit.spend(BACKGROUND_BYTES // 2, 0.0)
    assert credit.allows(BACKGROUND_BYTES // 2, BACKGROUND_BYTES)
    assert not credit.allows(BACKGROUND_BYTES // 2 + 1, BACKGROUND_BYTES)
    assert credit.allows(SMALLEST_BYTES // 2)


def test_what_was_held_back_tells_nothing_of_the_link():
    credit = Credit()
    credit.parcel(5 * MEBIBYTE)
    credit.spend(MEBIBYTE, 0.0, telling=False)
    assert credit.refund(MEBIBYTE, 1e-6)
    assert credit.window == 10 * MEBIBYTE


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
