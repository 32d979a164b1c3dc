"""Reader for goldens (numpy only; for kdet's tests).

    g = Golden('goldens/retinanet__retinanet_r50_fpn_1x_coco.npz')
    sd = g.state_dict()                    # {torch name: array}, exact weights
    x = g.images()                         # (2, 3, H, W) float32
    for k in g.sampled_names(): err = g.error(k, my_array)
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

    # ---- inputs
    def state_dict(self, teacher=False):
        m = self.meta
        shapes = {n: tuple(s) for n, s in
                  m['teacher_state_dict' if teacher else 'state_dict']}
        return weights.generate_all(
            shapes, m['seed'], {} if teacher else m['tied'],
            {} if teacher else m['adjust'],
            'teacher_model.' if teacher else '')

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
        err = float(np.abs(a - ref).max()) if ref.size else 0.0
        return err, st.get('absmax', 0.0)
