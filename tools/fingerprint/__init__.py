"""Hashes of many generations, to show that a change of the code keeps every image bit for bit.

    python -m tools.fingerprint before.json             # on the commit before
    python -m tools.fingerprint before.json --compare   # after the change, on the same machine and the same torch

The generations are run on small UNets: by the library alone (`library`), by the WebUI's stand-in (`images`), and what
is beside images: the page, pasted infotexts, names and keys (`page`) and wrong settings (`refusals`). Words that users
read are left out, since they may become better ones; names that users or their files refer to are not.
"""
