"""Progress in a log: its last line says that the work is done."""

from edgezsad.progress import progress, ticker


def test_the_last_line_of_a_log_is_the_end(capsys) -> None:
    assert sum(progress(range(5), "count", 5)) == 10
    with ticker("work") as tick:
        for done in range(1, 5):
            tick(done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("count: 5/5") for line in lines)
    assert lines[-1].startswith("work: 4/4")
