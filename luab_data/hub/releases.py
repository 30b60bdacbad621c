"""The two releases in words.

Sources: Han et al., ICCV 2023; the releases' own cards; the source of the two annotation tools.
These are facts of the releases. Numbers of a converted folder are computed, never quoted from here.
"""

from __future__ import annotations

from luab_data.hub.about import RELEASE, About

PAPER = "https://arxiv.org/abs/2303.17595"

_CARELESS = (
    "Careless annotators",
    "A HIT was rejected only for gross faults (recall below a third among them), so hurried and"
    " random answers are in the data. Most images were seen by one worker only. `annotators` has"
    " one row per worker with times and accuracies to filter by.",
)
_ONE_COUNTRY = (
    "One platform, one country",
    "Workers are MTurk workers of the US region with an approval rate of at least 90 %. Their"
    " screens, browsers, zoom and pointing devices are not logged, nor is anything about them.",
)

_LOADERS = "https://github.com/naver-ai/NeglectedFreeLunch"
_PLEASE_CITE = "Please cite the paper that collected the data."
_CONSENT = (
    "The workers took a paid labelling task. The logs do not say what they were told about\n"
    "the recording of their mouse; we have not seen the consent text and do not claim one."
)
BIBTEX = (
    "@InProceedings{Han_2023_ICCV,\n"
    "  author    = {Han, Dongyoon and Choe, Junsuk and Chun, Seonghyeok and Chung, John Joon Young"
    " and Chang, Minsuk and Yun, Sangdoo and Song, Jean Y. and Oh, Seong Joon},\n"
    "  title     = {Neglected Free Lunch - Learning Image Classifiers Using Annotation"
    " Byproducts},\n"
    "  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision"
    " (ICCV)},\n"
    "  month     = {October},\n"
    "  year      = {2023},\n"
    "  pages     = {20200-20212}\n"
    "}"
)
"""Of the paper, as the CVF has it."""

IMAGENET = About(
    title="ImageNet-AB",
    description="The annotation byproducts of ImageNet-AB: what annotators did with the mouse while"
    " they selected the images of a class among candidates, for the ImageNet-1k training images:"
    " the path over the picture, the click that selected it, and when.",
    source=RELEASE,
    url="https://huggingface.co/datasets/coallaoh/ImageNet-AB",
    tool="https://github.com/naver-ai/imagenet-annotation-tool",
    platforms=("Amazon Mechanical Turk", "https://github.com/naver-ai/imagenet-annotation-tool"),
    collection=(
        "Han et al. repeated ImageNet's annotation on Amazon Mechanical Turk. A HIT has 10 pages of"
        " 48 candidate pictures and names one class; the worker clicks the pictures that show it."
        " Each HIT was paid 1.50 USD, by the paper's count 10 USD an hour.",
        "There were two rounds. Round 1 showed every training image with its own class; the 28.2 %"
        " that nobody selected were shown again in round 2. An image may have more blocks, where a"
        " HIT was posted again.",
        "The page logs, per picture: enter and leave events, the mouse position at most 60 times a"
        " second while the picture is not selected, the clicks that select it, its place and size"
        " on the page, and whether it was selected when the page was submitted.",
        "The paper counts 1,281,167 images shown, 1,272,225 with byproducts and 1,110,786 selected"
        " in the end. A folder with other counts is not the whole release.",
    ),
    biases=(
        (
            "Centre bias",
            "Objects of ImageNet sit in the middle and so do clicks: in the paper the picture's"
            " centre lies in a box more often (83.9 %) than the click does (82.9 %). Compare every"
            " use of the clicks with the centre, and look at images whose boxes miss it.",
        ),
        (
            "Offset clicks",
            "Within their box, clicks lean to the upper right (paper, figure F);"
            " `click_bias_x`, `click_bias_y` in `annotators` measure it per worker.",
        ),
        (
            "Selected is not the same as true",
            "A picture can be left unselected by oversight and selected by mistake; `label` is"
            " ImageNet's, with its known errors, and by the paper 13.3 % of the images were never"
            " selected.",
        ),
        (
            "Boxes for some",
            "About 42 % of the images have ILSVRC boxes; every accuracy is over these.",
        ),
        _CARELESS,
        _ONE_COUNTRY,
    ),
    annotators=_ONE_COUNTRY[1],
    consent=_CONSENT,
    creators="crowdsourced",
    license="apache-2.0",
    citation=BIBTEX,
    please_cite=_PLEASE_CITE,
    paper=PAPER,
    repository=_LOADERS,
    limits=(
        (
            "Deselecting clicks are not logged",
            "Only clicks that select are. An odd number of clicks therefore does not mean selected,"
            " as the paper has it: trust `selected`; `parity_disagrees` marks the difference.",
        ),
        (
            "The trace stops while a picture is selected",
            "There are normally no points after the final click, and a deselection leaves a gap.",
        ),
        (
            "Traces concatenate visits",
            "`mouse_tracking_*` joins all passes over the picture; only `hovered_record_*` tells"
            " them apart, and a leave event can be missing. Quantiles and last-N therefore use the"
            " visit that ends in the final click.",
        ),
        (
            "Throttled at the leading edge",
            "After a recorded position none is taken for 16.7 ms, so the last move before a click"
            " can be missing. Touch and pen clicks have no trace at all and estimate times of 0.",
        ),
        (
            "Page geometry is unreliable",
            "The exported `image_width` can be a copy of the height; `image_position_*` is taken"
            " when the picture loads and goes stale when later pictures move the grid; a picture"
            " that never loaded keeps zeros. Fractions of the picture are not affected.",
        ),
        (
            "EXIF rotation",
            "Browsers turn pictures as EXIF says, most training code does not: for the few rotated"
            " JPEGs the clicks are in the rotated frame. Swapped `original_image_*` betrays them.",
        ),
        (
            "Clocks differ",
            "Event times are epoch milliseconds of the worker's own clock, `hit_submit_time` is"
            " epoch seconds, and `estimate_time_ms` leaves out a visit that still runs at submit."
            " Never store epoch milliseconds in float32: its step is 131 s.",
        ),
        (
            "Positions are quantised",
            "One pixel of the shown picture (at most 324 x 340) is the finest step; values slightly"
            " outside [0, 1] occur and are kept.",
        ),
        (
            "Pages can be lost",
            "A reload drops the page in progress; rounds of one image may disagree on `selected`.",
        ),
    ),
    terms="The release is published under Apache-2.0, and so is this conversion. The pictures"
    " are not included; ImageNet's own terms (non-commercial research and education) apply to them,"
    " and the boxes are ILSVRC's.",
    source_datasets=("extended|imagenet-1k",),
    keywords=("annotation-byproducts", "mouse-tracking", "click", "crowdsourcing", "imagenet"),
)

COCO = About(
    title="COCO-AB",
    description="The annotation byproducts of COCO-AB: what annotators did while they dragged class"
    " icons onto the images of COCO train2014: every add, move and remove, the superclasses they"
    " went through, the mouse path between drags, and when.",
    source=RELEASE,
    url="https://huggingface.co/datasets/coallaoh/COCO-AB",
    tool="https://github.com/naver-ai/coco-annotation-tool",
    platforms=("Amazon Mechanical Turk", "https://github.com/naver-ai/coco-annotation-tool"),
    collection=(
        "Han et al. repeated the category labelling of COCO on Amazon Mechanical Turk. A HIT has 20"
        " pages of one image; the worker goes through 11 superclasses with 80 class icons and drags"
        " the icon of each class they see onto one instance of it. Each HIT was paid 2.00 USD,"
        " by the paper's count 9.92 USD an hour.",
        "The paper counts 82,783 images shown, 82,765 with byproducts and 662 workers. A folder"
        " with other counts is not the whole release.",
    ),
    biases=(
        (
            "Classes are missed",
            "The paper's workers placed an icon for 61.9 % of the classes present, and it depends"
            " on the class and the size of its objects: no icon does not mean no object.",
        ),
        (
            "One icon per class",
            "An icon marks one instance of its class, the one the worker chose; the others are"
            " unmarked, and nothing tells which instance was meant.",
        ),
        _CARELESS,
        _ONE_COUNTRY,
    ),
    annotators=_ONE_COUNTRY[1],
    consent=_CONSENT,
    creators="crowdsourced",
    license="apache-2.0",
    citation=BIBTEX,
    please_cite=_PLEASE_CITE,
    paper=PAPER,
    repository=_LOADERS,
    limits=(
        (
            "Drags are invisible",
            "While an icon is dragged the browser sends no mouse moves, so the path to a placement"
            " does not exist and `mouse_tracking_*` can be empty though icons were placed. Moves"
            " over placed icons are missing too.",
        ),
        (
            "Sizes as logged are unreliable",
            "`image_width` is a copy of `image_height`, and original sizes can be 0. With an"
            " instances file, `width` and `height` of the default config are COCO's.",
        ),
        (
            "Positions can leave [0, 1]",
            "A border of 2 px makes fractions from about -0.005 to 1.005; they are kept.",
        ),
        (
            "The first superclass is not logged",
            "Only changes are: PersonAccessory has no entry until the worker returns to it.",
        ),
        (
            "Icons vanish by accident",
            "Dropping an icon on another one, a move of less than its own size and a click on it"
            " all remove it; many add-remove-add sequences are failed small moves. A reload empties"
            " the page without a log entry, so `is_present_at_end` can be too generous.",
        ),
        (
            "Clocks differ",
            "Times count from the page's start, which for page 1 is the start of the script and for"
            " later pages the submit before. A page left open for hours is in `time_spent_ms`: use"
            " medians.",
        ),
    ),
    terms="The release is published under Apache-2.0, and so is this conversion. The images are"
    " not included; their owners' terms apply. Where an instances file was given, `labels`,"
    " `boxes`, sizes and what is judged by masks derive from COCO's annotations (CC BY 4.0, COCO"
    " Consortium).",
    source_datasets=("extended|other-coco-2014",),
    keywords=("annotation-byproducts", "mouse-tracking", "drag-and-drop", "crowdsourcing", "coco"),
)
