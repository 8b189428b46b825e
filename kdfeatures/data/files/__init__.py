"""Tables in people's files: where they are, how they are written, and what can be wrong with them."""

from kdfeatures.data.files.find import FILE_ENDINGS as FILE_ENDINGS
from kdfeatures.data.files.find import SHARD as SHARD
from kdfeatures.data.files.find import check_shards as check_shards
from kdfeatures.data.files.find import ending_of as ending_of
from kdfeatures.data.files.find import expand as expand
from kdfeatures.data.files.find import is_data as is_data
from kdfeatures.data.files.find import is_pattern as is_pattern
from kdfeatures.data.files.find import is_saved_dataset as is_saved_dataset
from kdfeatures.data.files.find import without_pages as without_pages
from kdfeatures.data.files.read import Columns as Columns
from kdfeatures.data.files.read import FileFormat as FileFormat
from kdfeatures.data.files.read import concatenated as concatenated
from kdfeatures.data.files.read import load_saved as load_saved
from kdfeatures.data.files.read import read_file as read_file
from kdfeatures.data.files.read import read_files as read_files
from kdfeatures.data.files.read import read_parts as read_parts
from kdfeatures.data.files.remote import below as below
from kdfeatures.data.files.remote import is_url as is_url
from kdfeatures.data.files.remote import local_copy as local_copy
from kdfeatures.data.files.remote import urls_of as urls_of
from kdfeatures.data.files.stream import stream_of_urls as stream_of_urls
from kdfeatures.data.files.text import check_text as check_text
from kdfeatures.data.files.text import read_text as read_text
