"""Render the portrait world: a face in a pose, drawn with OpenCV at twice the size and averaged down.

Lengths are in head units (half the width of an oval head) around the centre of the head, x to the viewer's right, y
down. A turn of the head rotates an ellipsoid: features of the face move by their depth, so that they slide and narrow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.portrait.backdrop import backdrop
from models.pocket.world.portrait.canvas import OVERSIZE, Canvas, Points, arc, disc, mixed, smooth
from models.pocket.world.portrait.face import CLOTHES, EYES, HAIR, SKIN, Colour, Face, Pose
from models.pocket.world.portrait.hair import COVERS_EARS, Look, hair_behind, hair_in_front
from models.pocket.world.portrait.head import EYE_AT, EYE_HALF, MOUTH_AT, Head

Numbers = NDArray[np.float32]
SIZE = 128
INK: Colour = (40, 30, 38)


class Places(NamedTuple):
    """Hold boxes [frames, 4] float32: left, top, right, bottom in 0…1 of the picture."""

    face: Numbers
    eyes: Numbers
    mouth: Numbers


def draw_portrait(face: Face, poses: Numbers) -> NDArray[np.uint8]:
    """Draw frames [n, 128, 128, 3] uint8 RGB of a face; `poses` are rows of `Pose` [n, 11] float32."""
    return _drawn(face, poses, backdrop(face.background))


def draw_cut_out(face: Face, poses: Numbers) -> NDArray[np.uint8]:
    """Draw frames [n, 128, 128, 4] uint8 of a face with nothing behind it: RGB times coverage, and the coverage.

    The coverage is what a black and a white ground leave of their difference (Smith and Blinn, "Blue Screen Matting",
    SIGGRAPH 1996), so it holds what the antialiasing of the drawing does.
    """
    black, white = (
        _drawn(face, poses, np.full((OVERSIZE * SIZE, OVERSIZE * SIZE, 3), shade, np.uint8)) for shade in (0, 255)
    )
    covered = 255 - (white.astype(np.int16) - black).max(-1, keepdims=True)
    return np.concatenate([black, covered.clip(0, 255).astype(np.uint8)], -1)


def _drawn(face: Face, poses: Numbers, behind: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw frames [n, 128, 128, 3] of a face on a picture [256, 256, 3]."""
    frames = np.empty((len(poses), SIZE, SIZE, 3), np.uint8)
    look = Look(HAIR[face.hair_colour], SKIN[face.skin])
    for frame, row in zip(frames, poses, strict=True):
        pose = Pose(*map(float, row))
        canvas = Canvas(behind.copy())
        head = Head(face.shape, pose)
        hair_behind(canvas, head, face.hair, look)
        _body(canvas, head, face)
        _skull(canvas, head, face)
        for side in (-1, 1):
            _eye(canvas, head, face, side)
        _nose(canvas, head, face)
        if face.beard == "full":
            _beard(canvas, head, look)
        _mouth(canvas, head, face)
        if face.beard == "moustache":
            _moustache(canvas, head, look)
        hair_in_front(canvas, head, face.hair, look)
        _brows(canvas, head, face)
        if face.glasses != "none":
            _glasses(canvas, head, face)
        cv2.resize(canvas.picture, (SIZE, SIZE), dst=frame, interpolation=cv2.INTER_AREA)
    return frames


def places(face: Face, poses: Numbers) -> Places:
    """Return the boxes of the face, both eyes (with the brows) and the mouth (at its widest), for poses [n, 11]."""
    boxes: list[list[tuple[float, float, float, float]]] = []
    for row in poses:
        head = Head(face.shape, Pose(*map(float, row)))
        x, y, half = *EYE_AT, EYE_HALF[0] + 0.08  # lashes reach beyond the eye
        eyes = [(-x - half, y - 0.42), (x + half, y - 0.42), (x + half, y + 0.3), (-x - half, y + 0.3)]
        mouth = [(-0.46, MOUTH_AT - 0.28), (0.46, MOUTH_AT - 0.28), (0.46, MOUTH_AT + 0.42), (-0.46, MOUTH_AT + 0.42)]
        spots = head.outline(), head.on_face(np.array(eyes)), head.on_face(np.array(mouth))
        boxes.append([(*(p.min(0) / SIZE), *(p.max(0) / SIZE)) for p in spots])
    return Places(*np.asarray(boxes, np.float32).reshape(-1, 3, 4).transpose(1, 0, 2))


def _body(canvas: Canvas, head: Head, face: Face) -> None:
    skin, cloth = SKIN[face.skin], CLOTHES[face.clothes]
    dark = mixed(cloth, (20, 14, 40), 0.26)
    x, y = head.body
    jaw = head.flat(np.array([[-0.36, 0.6], [0.36, 0.6]]))
    neck = np.array([jaw[0], jaw[1], (x + 13.5, y - 1), (x, y + 8), (x - 13.5, y - 1)])
    canvas.fill(
        smooth(
            np.array(
                [
                    (x - 54, 134),
                    (x - 47, y + 10),
                    (x - 26, y + 1),
                    (x, y - 2),
                    (x + 26, y + 1),
                    (x + 47, y + 10),
                    (x + 54, 134),
                ]
            )
        ),
        cloth,
    )
    if face.collar == "hood":
        canvas.fill(
            smooth(
                np.array(
                    [
                        (x - 27, y + 3),
                        (x - 20, y - 8),
                        (x + 20, y - 8),
                        (x + 27, y + 3),
                        (x + 11, y + 15),
                        (x - 11, y + 15),
                    ]
                )
            ),
            dark,
        )
    elif face.collar == "crew":
        canvas.fill(disc(x, y, 17.5, 10.5), dark)
    canvas.fill(disc(x, y - 1, 13.5, 8.5), skin)
    canvas.fill(neck, skin)
    shadow = head.flat(np.array([[-0.38, 0.9], [0.38, 0.9], [0.34, 1.42], [0.0, 1.5], [-0.34, 1.42]]))
    canvas.fill(
        smooth(np.stack([np.clip(shadow[:, 0], x - 12.8, x + 12.8), np.minimum(shadow[:, 1], y + 5)], 1)),
        head.shade(skin),
    )
    if face.collar == "shirt":
        for side in (-1, 1):
            flap = np.array([(x + side * 14, y - 6), (x + side * 20, y + 1), (x + side * 11, y + 15), (x, y + 8)])
            canvas.fill(flap, mixed(cloth, (255, 255, 255), 0.5) if face.clothes != "white" else (206, 210, 224))
    elif face.collar == "hood":
        for side in (-1, 1):
            canvas.line(
                np.array([(x + side * 9, y + 12), (x + side * 10, y + 24)]), mixed(cloth, (255, 255, 255), 0.7), 1.6
            )


def _skull(canvas: Canvas, head: Head, face: Face) -> None:
    skin = SKIN[face.skin]
    for side in () if face.hair in COVERS_EARS else (-1, 1):
        ear = np.array([side * 0.99, 0.08])
        canvas.fill(head.at_depth(disc(0, 0, 0.17, 0.24) + ear, -0.22), skin)
        canvas.fill(head.at_depth(disc(0, 0, 0.09, 0.14) + ear, -0.22), head.shade(skin))
    canvas.fill(head.outline(), skin)
    blush = mixed(skin, (236, 96, 92), 0.2)
    for side in (-1, 1):
        canvas.fill(head.on_face(disc(side * 0.58, 0.4, 0.19, 0.13)), blush)


def _eye(canvas: Canvas, head: Head, face: Face, side: int) -> None:
    pose, skin = head.pose, SKIN[face.skin]
    cx, cy = side * EYE_AT[0], EYE_AT[1]
    w, h = EYE_HALF
    u = np.linspace(-1, 1, 15)
    bow = np.sqrt(1 - u**2)
    squint = 0.25 * pose.smile + 0.12 * pose.mouth  # cheeks push the lower lid up
    shut = 0.45 * h * bow
    upper = -h * bow * (1 - 0.1 * pose.smile) * (1 - pose.blink) + shut * pose.blink
    lower = h * bow * (1 - squint) * (1 - pose.blink) + shut * pose.blink

    def lid(y: Points) -> Points:
        return np.stack([cx + w * u, cy + y], 1)

    canvas.fill(head.on_face(np.concatenate([lid(-1.12 * h * bow), lid(upper)[::-1]])), head.shade(skin))
    if pose.blink < 0.9:
        canvas.fill(head.on_face(np.concatenate([lid(upper), lid(lower)[::-1]])), (252, 252, 255))
        gx, gy = cx + 0.1 * pose.gaze_x, cy + 0.01 + 0.065 * pose.gaze_y

        def between_lids(points: Points) -> Points:
            at = (points[:, 0] - cx) / w
            y = np.clip(points[:, 1], cy + np.interp(at, u, upper), cy + np.interp(at, u, lower))
            return head.on_face(np.stack([points[:, 0], y], 1))

        canvas.fill(between_lids(disc(gx, gy, 0.135, 0.15)), mixed(EYES[face.eyes], (0, 0, 0), 0.35))
        canvas.fill(between_lids(disc(gx, gy, 0.11, 0.125)), EYES[face.eyes])
        canvas.fill(between_lids(disc(gx, gy, 0.064, 0.072)), (18, 14, 22))
        canvas.fill(between_lids(disc(gx + 0.045, gy - 0.06, 0.036, 0.038)), (255, 255, 255))
    canvas.line(head.on_face(lid(upper)), INK, 1.9)


def _brows(canvas: Canvas, head: Head, face: Face) -> None:
    colour = mixed(HAIR[face.hair_colour], INK, 0.42)
    height, arch, width = {"soft": (0.35, 0.05, 2.4), "thick": (0.35, 0.045, 4.2), "arched": (0.37, 0.12, 2.6)}[
        face.brows
    ]
    lift = height + 0.05 * head.pose.smile - 0.05 * head.pose.gaze_y  # brows go where the eyes look
    for side in (-1, 1):
        u = np.linspace(-1, 1, 9)
        x = side * (EYE_AT[0] + 0.02 + 0.25 * u)
        y = EYE_AT[1] - lift - arch * (1 - (u - 0.2) ** 2) + 0.03 * u
        canvas.line(head.on_face(np.stack([x, y], 1)), colour, width)


def _nose(canvas: Canvas, head: Head, face: Face) -> None:
    dark = head.shade(SKIN[face.skin], 0.3)
    bridge = arc(0, 0.25, 0.115, 0.1, 0.15 * math.pi, 0.85 * math.pi)
    canvas.fill(head.at_depth(disc(0, 0.25, 0.1, 0.1), 1.12), mixed(SKIN[face.skin], (255, 240, 226), 0.16))
    canvas.line(head.at_depth(bridge, 1.12), dark, 1.8)


def _mouth(canvas: Canvas, head: Head, face: Face) -> None:
    """Draw the mouth between two curves from corner to corner, so that teeth and tongue never cross the lips."""
    pose, skin = head.pose, SKIN[face.skin]
    lips = mixed(skin, (176, 46, 62), 0.52)
    half = (0.24 + 0.16 * pose.width) * (1 - 0.1 * pose.mouth) + 0.05 * pose.smile
    u = np.cos(np.linspace(math.pi, 0, 19))  # denser at the corners, where the curves are steep
    bow = np.sqrt(1 - u**2) * (1 - 0.3 * pose.smile) + (1 - u**2) * 0.3 * pose.smile
    smile = 0.12 * pose.smile * (1 - 0.5 * pose.mouth) * (1 - 2 * u**2)
    rest = MOUTH_AT + smile - 0.05 * pose.mouth
    opening = 0.44 * pose.mouth * (1.1 - 0.2 * pose.width)
    top, bottom = rest - 0.22 * opening * bow, rest + 0.78 * opening * bow
    pout = 0.03 * (1 - pose.width)
    cupid = (0.06 + pout) * bow * (1 - 0.25 * np.exp(-((u / 0.22) ** 2)))
    x = half * u

    def between(above: Points, below: Points) -> Points:
        return head.on_face(np.concatenate([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]]))

    canvas.fill(between(top - cupid, bottom + (0.08 + pout) * bow), lips)
    if opening > 0.02:
        canvas.fill(between(top, bottom), (74, 20, 30))
        tongue = bottom - 0.42 * opening * np.maximum(1 - (u / 0.8) ** 2, 0)
        canvas.fill(between(np.maximum(tongue, top), bottom), (224, 98, 104))
        teeth = top + min(0.09, 0.4 * opening) * np.minimum(1, 2.5 * (1 - np.abs(u)))
        canvas.fill(between(top, np.minimum(teeth, bottom)), (252, 250, 244))
    else:
        canvas.line(head.on_face(np.stack([x, (top + bottom) / 2], 1)), mixed(lips, (60, 16, 26), 0.6), 1.5)


def _beard(canvas: Canvas, head: Head, look: Look) -> None:
    jaw = head.jaw()
    inner = np.array([(0.74, 0.36), (0.5, 0.5), (0.24, 0.36), (0.0, 0.4), (-0.24, 0.36), (-0.5, 0.5), (-0.74, 0.36)])
    canvas.fill(np.concatenate([jaw, head.on_face(smooth(inner, closed=False))[::-1]]), look.hair_dark)


def _moustache(canvas: Canvas, head: Head, look: Look) -> None:
    y = MOUTH_AT - 0.135
    shape = [
        (0, y - 0.06),
        (0.2, y - 0.05),
        (0.38, y + 0.07),
        (0.2, y + 0.04),
        (0, y + 0.03),
        (-0.2, y + 0.04),
        (-0.38, y + 0.07),
        (-0.2, y - 0.05),
    ]
    canvas.fill(head.on_face(smooth(np.array(shape))), look.hair_dark)


def _glasses(canvas: Canvas, head: Head, face: Face) -> None:
    frame: Colour = (34, 34, 44)
    x, y = EYE_AT
    w, h = (0.31, 0.29) if face.glasses == "round" else (0.32, 0.25)
    for side in (-1, 1):
        if face.glasses == "round":
            rim = disc(side * x, y, w, h)
        else:
            rim = np.array([(side * x + i * w, y + j * h) for i, j in ((-1, -0.9), (1, -0.9), (0.9, 1), (-0.9, 1))])
        canvas.line(head.on_face(rim), frame, 2.2, closed=True)
        canvas.line(
            np.concatenate(
                [
                    head.on_face(np.array([(side * (x + w), y - 0.06)])),
                    head.at_depth(np.array([(side * 1.0, y - 0.02)]), -0.1),
                ]
            ),
            frame,
            2.0,
        )
    canvas.line(head.on_face(arc(0, y + 0.02, x - w + 0.02, 0.1, math.pi, 2 * math.pi)), frame, 2.0)
