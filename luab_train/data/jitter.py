"""Colour jitter of a crop: brightness, contrast and saturation, as Pillow has them."""

from __future__ import annotations

import numpy as np
from torchvision import transforms as tvt


class ColourJitter:
    """torchvision's ColorJitter of brightness, contrast and saturation, with its draws and to the
    bit the pixels that Pillow makes of them, in less time.
    """

    def __init__(self, strength: float, side: int) -> None:
        """See the class.

        Args:
            strength: the factors are drawn from 1 - strength to 1 + strength.
            side: px of the squares it is for.
        """
        self._drawn = tvt.ColorJitter(strength, strength, strength)
        # Kept: the kernel clears new pages for longer than it takes to fill them.
        self._planes = np.empty((5, side, side), np.float32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 -> the same, anew; draws from torch's generator."""
        drawn = self._drawn
        order, *factors = drawn.get_params(drawn.brightness, drawn.contrast, drawn.saturation, None)
        rgb = self._planes[:3]
        for channel in range(3):
            rgb[channel] = pixels[..., channel]
        for step in order.tolist():
            if step < 3:
                self._blend(step, factors[step])
        out = np.empty_like(pixels)
        for channel in range(3):
            out[..., channel] = rgb[channel]
        return out

    def _blend(self, step: int, factor: float) -> None:
        """Away from black, the mean grey or each pixel's grey, as ImageEnhance and `Image.blend`:
        float32, cut off to whole numbers after each step.
        """
        rgb = self._planes[:3]
        if step == 0:
            rgb *= np.float32(factor)
        else:
            anchor: np.ndarray | float = self._grey()
            if step == 1:
                anchor = float(int(np.mean(anchor, dtype=np.float64) + 0.5))
            rgb -= anchor
            rgb *= np.float32(factor)
            rgb += anchor
        if factor > 1:
            np.clip(rgb, 0, 255, out=rgb)
        np.floor(rgb, out=rgb)

    def _grey(self) -> np.ndarray:
        """Pillow's L, by whole numbers below 2^24."""
        red, green, blue, _, share = self._planes
        grey: np.ndarray = self._planes[3]
        np.multiply(red, 19595, out=grey)
        grey += np.multiply(green, 38470, out=share)
        grey += np.multiply(blue, 7471, out=share)
        grey += 0x8000
        grey *= 2**-16
        np.floor(grey, out=grey)
        return grey
