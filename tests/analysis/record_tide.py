"""Records what the package ``tidecv`` says of ``scene.py``'s scenes.

python tests/analysis/record_tide.py > tests/analysis/tide.json   (needs tidecv, which pulls OpenCV along)
"""

import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidecv  # noqa: E402
from scene import scene  # noqa: E402
from tidecv import datasets  # noqa: E402

CASES = [{"seed": 0}, {"seed": 1, "crowds": False}, {"seed": 2, "classes": 9}, {"seed": 3, "images": 3}]


def figures(case):
    truth, results = scene(**case)
    with tempfile.TemporaryDirectory() as folder:
        for annotation in truth["annotations"]:  # its reader wants one
            x, y, w, h = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        paths = []
        for name, content in (("truth", truth), ("results", results)):
            paths.append(pathlib.Path(folder, name + ".json"))
            paths[-1].write_text(json.dumps(content))
        tide = tidecv.TIDE()
        both = datasets.COCO(str(paths[0])), datasets.COCOResult(str(paths[1]))
        run = tide.evaluate(*both, mode=tidecv.TIDE.BOX)
    costs = {kind.short_name.lower(): cost for kind, cost in run.fix_main_errors().items()}
    counts = {kind.short_name.lower(): count for kind, count in run.count_errors().items()}
    special = [float(value) for value in run.fix_special_errors().values()]
    return {"case": case, "ap": run.ap, "costs": costs, "counts": counts, "special": special}


print(json.dumps([figures(case) for case in CASES], indent=1))
