from .catalogue import open_archive as open_archive
from .jobs import assimilate_archive as assimilate_archive
from .jobs import read_summary as read_summary
from .outputs import in_flight as in_flight
from .outputs import verify as verify
from .preprocessing import TimeUnits as TimeUnits
from .storage import Packing as Packing
