"""How long the methods take on a full-size UNet, as ratios in one run on one machine."""
