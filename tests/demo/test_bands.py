"""The measurement of HiDiffusion's thresholds and parts: each way sets what its title says."""

from __future__ import annotations

import json
import sys

from demo import bands


def test_what_is_set_is_what_the_title_says():
    ways = {way.title: way.method for way in bands.ways(with_aggressive=True)}
    assert ways["2x, plain"] is None
    assert ways["T1 0.6"].t1 == 0.6
    assert ways["strided downsampler alone"].t1 == 0
    assert ways["pool alone"].aggressive is False
    assert ways["RAU-Net alone"].window_attention is False
    assert ways["window attention alone"].raunet is False
    last = ways["T1 0.7, T2 0.3, not aggressive"]
    assert (last.t1, last.t2, last.aggressive) == (0.7, 0.3, False)
    assert all("aggressive" not in way.title for way in bands.ways(with_aggressive=False))


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bands, "ways", lambda with_aggressive: [bands.SIZES[2]])
    monkeypatch.setattr(sys, "argv", ["bands", "sd15", "--images", "1", "--out", str(tmp_path)])
    assert bands.main() == 0
    assert "strided downsampler" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "sd15.json").read_text())) == {"hidiffusion_2x"}
