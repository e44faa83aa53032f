from .cells import AnyPart as AnyPart, Lattice as Lattice, RandomCells as RandomCells
from .clouds import MovingClouds as MovingClouds
from .orbits import Orbit as Orbit
from .samplers import AbstractSampler as AbstractSampler, EveryNthStep as EveryNthStep, Fixed as Fixed, OneOf as OneOf, RandomComponents as RandomComponents, RandomFraction as RandomFraction, RandomHoles as RandomHoles
from .satellites import Nadirs as Nadirs, Swath as Swath, Together as Together, ground_tracks as ground_tracks, observe_tracks as observe_tracks
from .track_samplers import AbstractTrackSampler as AbstractTrackSampler, ShuffledTracks as ShuffledTracks, TrackPositions as TrackPositions
from .tracks import anomalies as anomalies, bin_tracks as bin_tracks, bin_with_errors as bin_with_errors, read_tracks as read_tracks, sample_field as sample_field, withhold_passes as withhold_passes
from .twins import observe as observe
