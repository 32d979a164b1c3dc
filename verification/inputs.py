"""Deterministic test inputs (numpy only), shared by oracle and kdet.

Images, ground truth, masks and semantic maps are functions of (seed, H, W, …)
and are bit-identical on both sides; goldens store boxes, labels and metas, and
only name the functions for the rest.
"""
import numpy as np

from verification.weights import _uniform01


def _bilinear_up(g, h, w):
    """(c, a, b) grid -> (c, h, w), align_corners=True bilinear."""
    a, b = g.shape[1:]
    y = np.arange(h, dtype=np.float64) * (a - 1) / max(h - 1, 1)
    x = np.arange(w, dtype=np.float64) * (b - 1) / max(w - 1, 1)
    y0 = np.minimum(y.astype(np.int64), max(a - 2, 0))
    x0 = np.minimum(x.astype(np.int64), max(b - 2, 0))
    ly, lx = (y - y0)[None, :, None], (x - x0)[None, None, :]
    y1, x1 = np.minimum(y0 + 1, a - 1), np.minimum(x0 + 1, b - 1)
    g0 = g[:, y0][:, :, x0] * (1 - lx) + g[:, y0][:, :, x1] * lx
    g1 = g[:, y1][:, :, x0] * (1 - lx) + g[:, y1][:, :, x1] * lx
    return g0 * (1 - ly) + g1 * ly


def make_images(n, h, w, seed=0, img_shapes=None):
    """(n, 3, h, w) float32, already 'normalized' (about N(0, 1)); rows/cols
    beyond img_shapes[i] are zero, as mmdet pads after normalizing."""
    out = np.zeros((n, 3, h, w), np.float64)
    for i in range(n):
        for k, (cell, amp) in enumerate(((48, 1.6), (16, 1.0), (5, 0.6),
                                         (1, 0.25))):
            a, b = max(2, h // cell + 1), max(2, w // cell + 1)
            u = _uniform01('img%d/%d/%dx%d' % (i, k, h, w), 3 * a * b, seed)
            out[i] += amp * 2.0 * _bilinear_up(
                u.reshape(3, a, b) - 0.5, h, w)
        if img_shapes is not None:
            ih, iw = img_shapes[i][:2]
            out[i, :, ih:, :] = 0
            out[i, :, :, iw:] = 0
    return out.astype(np.float32)


def make_gt(i, img_h, img_w, num_classes, seed=0):
    """Boxes (k,4) float32 xyxy, labels (k,) int64, one ignore box (1,4)."""
    u = _uniform01('gt%d' % i, 64, seed).reshape(8, 8)
    s = min(img_h, img_w) / 192.0
    sizes = [(16., 20.), (31., 25.), (52., 63.), (95., 78.), (141., 170.),
             (22., 70.)]
    k = 5 if i % 2 == 0 else 4
    if i % 2:
        sizes = sizes[1:]
    boxes = []
    for j in range(k):
        bw = min(sizes[j][0] * s * (0.9 + 0.2 * u[j, 0]) + 0.37, img_w - 9)
        bh = min(sizes[j][1] * s * (0.9 + 0.2 * u[j, 1]) + 0.23, img_h - 9)
        x1 = 2 + u[j, 2] * (img_w - bw - 4)
        y1 = 2 + u[j, 3] * (img_h - bh - 4)
        boxes.append([x1, y1, x1 + bw, y1 + bh])
    labels = [int(u[j, 4] * num_classes) for j in range(k)]
    x1, y1 = u[6, 0] * img_w * 0.6, u[6, 1] * img_h * 0.6
    ign = [[x1, y1, x1 + 0.3 * img_w + 0.4, y1 + 0.3 * img_h + 0.3]]
    return (np.asarray(boxes, np.float32), np.asarray(labels, np.int64),
            np.asarray(ign, np.float32))


def make_masks(boxes, h, w):
    """(k, h, w) uint8: ellipse inscribed in each box, less its upper-left
    quarter's corner (so that it is not symmetric)."""
    y = np.arange(h, dtype=np.float64)[:, None] + 0.5
    x = np.arange(w, dtype=np.float64)[None, :] + 0.5
    out = []
    for b in np.asarray(boxes, np.float64):
        cx, cy = (b[0] + b[2]) / 2, (b[1] + b[3]) / 2
        rx, ry = (b[2] - b[0]) / 2, (b[3] - b[1]) / 2
        u, v = (x - cx) / rx, (y - cy) / ry
        out.append(((u * u + v * v <= 1) & ~((u < -0.2) & (v < -0.3))))
    return np.asarray(out, np.uint8).reshape(len(boxes), h, w)


def make_semantic(n, h, w, num_classes, seed=0):
    """(n, 1, h, w) int64 block map with some 255 (ignored)."""
    out = np.zeros((n, 1, h, w), np.int64)
    for i in range(n):
        a, b = (h + 3) // 4, (w + 3) // 4
        u = _uniform01('sem%d' % i, a * b, seed).reshape(a, b)
        lab = np.minimum((u * (num_classes + 6)).astype(np.int64),
                         num_classes + 5)
        lab = np.where(lab >= num_classes, 255, lab)
        out[i, 0] = np.repeat(np.repeat(lab, 4, 0), 4, 1)[:h, :w]
    return out


def make_proposals(i, img_h, img_w, n=24, seed=0):
    """(n, 5) float32 xyxy+score fixed proposals; some larger than the image
    so that every FPN level is hit."""
    u = _uniform01('prop%d' % i, n * 4, seed).reshape(n, 4)
    out = []
    for j in range(n):
        side = 10.0 * (60.0 ** (j / (n - 1.0)))         # 10 .. 600 px
        bw = side * (0.6 + 0.8 * u[j, 0])
        bh = side * (0.6 + 0.8 * u[j, 1])
        cx, cy = u[j, 2] * img_w, u[j, 3] * img_h
        out.append([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2,
                    1.0 - j / (2.0 * n)])
    return np.asarray(out, np.float32)


def make_jittered(i, gt_boxes, seed=0):
    """(4k, 5) float32: four displaced copies of every gt box (IoU about 0.9,
    0.8, 0.65, 0.5), put before the RPN's proposals in training so that the
    RoI heads see positives whose targets are not zero."""
    g = np.asarray(gt_boxes, np.float64)
    u = _uniform01('jit%d' % i, len(g) * 16, seed).reshape(len(g), 4, 4)
    out = []
    for b, v in zip(g, u):
        w, h = b[2] - b[0], b[3] - b[1]
        for j, a in enumerate((0.04, 0.09, 0.15, 0.24)):
            d = (2 * v[j] - 1) * a
            out.append([b[0] + d[0] * w, b[1] + d[1] * h, b[2] + d[2] * w,
                        b[3] + d[3] * h, 0.99 - 0.01 * j])
    return np.asarray(out, np.float32).reshape(-1, 5)


def sample_indices(n, k):
    """Flat indices stored for an array of n values limited to k."""
    if n <= k:
        return np.arange(n, dtype=np.int64)
    return (np.arange(k, dtype=np.int64) * (n - 1)) // (k - 1)
