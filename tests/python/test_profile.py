import json

import pytest

import sorus


def test_profile_of_eager_and_compiled(tmp_path):
    x = sorus.randn(64, 32)
    f = sorus.compile(lambda x: (x @ x.t()).exp().sum())
    f(x)
    with sorus.profile() as p:
        (x @ x.t()).exp()
        f(x)
    names = {(r.name.split("+")[0], r.kind) for r in p.rows()}
    assert ("matmul", "eager") in names or ("linear", "eager") in names or any("matmul" in n for n, _ in names)
    assert any(kind == "loop" for _, kind in names)
    assert any("test_profile.py" in r.name for r in p.rows(by="line"))
    assert 0 < sum(e.seconds for e in p.events()) <= p.seconds
    assert "GFLOP/s" in p.table() and "outside of operators" in p.table(by="call")
    p.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) >= len(p.events())
    with pytest.raises(ValueError, match="line"):
        p.table(by="colour")


def test_one_profile_at_a_time():
    with sorus.profile(), pytest.raises(RuntimeError, match="another profile"), sorus.profile():
        pass
    with sorus.profile() as p:
        pass
    assert p.events() == []
