"""Play by WHEP or publish by WHIP with GStreamer's webrtcbin, and print what came of it as JSON.

    python3 gstreamer_client.py whep URL PICTURES [SOUNDS]
    python3 gstreamer_client.py whip URL TOKEN CODEC

GStreamer 1.22 of Debian 12 has webrtcbin, and no element that speaks WHEP or WHIP itself: the HTTP part is here.
"""

import json
import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

LIMIT = 30  # seconds
H264 = "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000"
OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"
SENT = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=500 "
    "! video/x-h264,profile=baseline ! rtph264pay config-interval=-1 ! " + H264,
    "vp8": "vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay "
    "! application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
}


def negotiate(rtc, url, token=""):
    """Offer with all candidates, set the answer, and return the address of the connection."""
    promise = Gst.Promise.new()
    rtc.emit("create-offer", None, promise)
    promise.wait()
    reply = promise.get_reply()  # held, as the offer lies in its memory
    offer = reply.get_value("offer")
    gathered = threading.Event()

    def state(*_):
        if rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            gathered.set()

    rtc.connect("notify::ice-gathering-state", state)
    rtc.emit("set-local-description", offer, Gst.Promise.new())
    state()
    gathered.wait(LIMIT)
    sdp = rtc.get_property("local-description").sdp.as_text()
    headers = {"content-type": "application/sdp"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, sdp.encode(), headers, method="POST")
    with urllib.request.urlopen(request) as created:
        answer, resource = created.read(), urllib.parse.urljoin(url, created.headers["location"])
    _, message = GstSdp.SDPMessage.new_from_text(answer.decode())
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
    rtc.emit("set-remote-description", description, Gst.Promise.new())
    return resource, headers, sdp


def leave(resource, headers):
    """End the connection as WHEP and WHIP do; return the status."""
    request = urllib.request.Request(resource, headers=headers, method="DELETE")
    with urllib.request.urlopen(request) as reply:
        return reply.status


def play(url, pictures, sounds=None):
    """Play until so many pictures and buffers of sound were decoded; sound is offered only if `sounds` is given."""
    pipeline = Gst.Pipeline.new()
    rtc = Gst.ElementFactory.make("webrtcbin")
    pipeline.add(rtc)
    got, sizes, done = {"video": 0, "audio": 0}, set(), threading.Event()

    def decoded(sink, sample_pad, kind):
        got[kind] += 1
        if kind == "video":
            structure = sink.get_static_pad("sink").get_current_caps().get_structure(0)
            sizes.add((structure.get_value("width"), structure.get_value("height")))
        if got["video"] >= pictures and got["audio"] >= (sounds or 0):
            done.set()

    def pad_added(_, pad):
        kind = pad.get_current_caps().get_structure(0).get_value("media")
        chain = "rtph264depay ! avdec_h264" if kind == "video" else "rtpopusdepay ! opusdec"
        part = Gst.parse_bin_from_description(f"queue ! {chain} ! fakesink name=end signal-handoffs=true", True)
        part.get_by_name("end").connect("handoff", lambda sink, _, sink_pad: decoded(sink, sink_pad, kind))
        pipeline.add(part)
        part.sync_state_with_parent()
        pad.link(part.get_static_pad("sink"))

    rtc.connect("pad-added", pad_added)
    receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
    rtc.emit("add-transceiver", receive, Gst.Caps.from_string(H264))
    if sounds is not None:
        rtc.emit("add-transceiver", receive, Gst.Caps.from_string(OPUS))
    pipeline.set_state(Gst.State.PLAYING)
    resource, headers, sdp = negotiate(rtc, url)
    done.wait(LIMIT)
    print(json.dumps({"got": got, "sizes": sorted(sizes), "setup": "actpass" if "setup:actpass" in sdp else "other",
                      "left": leave(resource, headers)}))  # fmt: skip
    pipeline.set_state(Gst.State.NULL)


def publish(url, token, codec):
    """Publish a test picture of 320x240 at 15 frames a second until a line arrives on standard input."""
    source = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1"
    pipeline = Gst.parse_launch(f"{source} ! videoconvert ! {SENT[codec]} ! webrtcbin name=rtc")
    rtc = pipeline.get_by_name("rtc")
    transceiver = rtc.emit("get-transceiver", 0)
    transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
    pipeline.set_state(Gst.State.PLAYING)
    pipeline.get_state(Gst.SECOND * LIMIT)
    resource, headers, _ = negotiate(rtc, url, token)
    print(json.dumps({"published": resource}), flush=True)
    sys.stdin.readline()
    print(json.dumps({"left": leave(resource, headers)}))
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    Gst.init(None)
    if sys.argv[1] == "whep":
        play(sys.argv[2], *map(int, sys.argv[3:5]))
    else:
        publish(sys.argv[2], *sys.argv[3:5])
