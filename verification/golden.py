"""Reader for goldens (numpy only; for kdet's tests).

    g = Golden('goldens/retinanet__retinanet_r50_fpn_1x_coco.npz')
    sd = g.state_dict()                    # {torch name: array}, exact weights
    x = g.images()                         # (2, 3, H, W) float32
    for k in g.sampled_names(): err = g.error(k, my_array)

Formats 2 (MMDetection 2.28) and 3 (MMDetection 3.3, Transformers).
"""
import json

import numpy as np

from verification import inputs, weights


class Golden:

    def __init__(self, path):
        self.path = path
        with np.load(path, allow_pickle=False) as z:
            self.d = {k: z[k] for k in z.files if k != 'meta'}
            self.meta = json.loads(bytes(z['meta']).decode('utf-8'))
        if self.meta['format'] >= 3:
            fill_in(self.meta, self.d)

    # ---- inputs
    def state_dict(self, teacher=False):
        m = self.meta
        shapes = {n: tuple(s) for n, s in
                  m['teacher_state_dict' if teacher else 'state_dict']}
        arrays = weights.generate_all(
            shapes, m['seed'], {} if teacher else m['tied'],
            {} if teacher else m['adjust'],
            'teacher_model.' if teacher else '')
        # buffers that keep the reference's own numbers
        for name, values in m.get('values', {}).items():
            old = arrays[name]
            arrays[name] = np.asarray(values, old.dtype).reshape(old.shape)
        return arrays

    def images(self):
        i = self.meta['input']
        return inputs.make_images(i['n'], i['h'], i['w'], self.meta['seed'],
                                  [m['img_shape']
                                   for m in self.meta['img_metas']])

    def proposals(self):
        return [inputs.make_proposals(i, *m['img_shape'][:2],
                                      seed=self.meta['seed'])
                for i, m in enumerate(self.meta['img_metas'])]

    def gt(self, i):
        """boxes, labels, ignore boxes of image i"""
        return tuple(self.d['f/gt/%d/%s' % (i, k)]
                     for k in ('boxes', 'labels', 'ignore'))

    def gt_masks(self, i):
        h, w = self.meta['img_metas'][i]['pad_shape'][:2]
        return inputs.make_masks(self.gt(i)[0], h, w)

    def picture(self, i):
        """The uint8 RGB image ``[h,w,3]`` whose preprocessed pixels are ``s/pre/i``."""
        return self.made_picture(i, *self.meta['pre']['pictures'][i])

    def made_picture(self, i, h, w):
        """The uint8 RGB image ``[h,w,3]`` number ``i`` of a size."""
        pixels = inputs.make_images(i + 1, h, w, self.meta['seed'])[i]
        pixels = np.rint(pixels.transpose(1, 2, 0).astype(np.float64) * 52 + 118)
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def draw(self, k):
        """The k-th random draw of the training pass (``torch.rand_like/k`` ...)."""
        name, shape, low, high = self.meta['train']['randomness'][k]
        if name.startswith('torch.randperm'):
            return np.arange(shape[0])
        u = weights._uniform01(name, int(np.prod(shape)), self.meta['seed'])
        if 'randint' in name:
            u = np.floor(u * (high - low)).astype(np.int64) + low
        elif 'randn' in name:
            u = ((2 * u - 1) * weights.SQ3).astype(np.float32)
        else:
            u = u.astype(np.float32)
        return u.reshape(shape)

    # ---- outputs
    def sampled_names(self):
        return [k[2:] for k in self.d if k.startswith('s/')]

    def full_names(self):
        return [k[2:] for k in self.d if k.startswith('f/')]

    def full(self, name):
        return self.d['f/' + name]

    def error(self, name, array):
        """max |array - golden| over the stored samples, and the golden's
        absmax (over the whole array) for scale.  `array` in NCHW order."""
        st = self.meta['arrays'][name]
        array = np.asarray(array)
        assert list(array.shape) == st['shape'], (name, array.shape, st)
        ref = self.d['s/' + name]
        idx = inputs.sample_indices(array.size, ref.size)
        a = array.reshape(-1)[idx].astype(np.float64)
        with np.errstate(invalid='ignore'):
            # equal infinities too; what is infinite in float32 need not be in float64
            same = (a == ref) | (np.isinf(ref) & (np.abs(a) > 3e38))
            distance = np.where(same, 0.0, np.abs(a - ref))
        err = float(distance.max()) if ref.size else 0.0
        return err, st.get('absmax', 0.0)


def fill_in(meta, arrays):
    """What format 3 leaves unsaid, as format 2 says it."""
    meta.setdefault('test_mode', 'batch2')
    meta.setdefault('test_cfg_overrides', meta.get('cfg_overrides', []))
    meta.setdefault('model_type', meta.get('model_class'))
    meta.setdefault('teacher_state_dict', None)
    for image in meta['img_metas']:
        (height, width), (h, w) = (image[key][:2] for key in ('img_shape', 'ori_shape'))
        image.setdefault('scale_factor', [width / w, height / h])
    train = meta['train']
    train.setdefault('cfg_overrides', meta.get('cfg_overrides', []))
    if 'kwargs' not in train:
        train['kwargs'] = ['gt_bboxes', 'gt_labels']
        train['kwargs'] += ['gt_masks'] if 'gt_masks' in train else []
        # the reference's own losses do not look at boxes to ignore in transformers
        given = meta['reference'] == 'mmdet' and any(a.endswith('/ignore') for a in arrays)
        train['kwargs'] += ['gt_bboxes_ignore'] if given else []
